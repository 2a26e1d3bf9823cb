#!/bin/sh
# gdb_backtrace.sh - gdb's bt inside a context ends cleanly, at the context's entry.
#
# usage: gdb_backtrace.sh PROGRAM BREAKPOINT [ARGUMENTS...]
# Runs PROGRAM to BREAKPOINT, which stands on a context's stack. GDB names another gdb. Exit status
# as of a test: 0, 1, 77 where there is no gdb or it may not trace.
set -u
gdb=${GDB:-gdb}
program=$1 breakpoint=$2
shift 2

command -v "$gdb" >/dev/null 2>&1 || { echo "no $gdb: skipped"; exit 77; }
out=$("$gdb" -nx -batch -iex 'set debuginfod enabled off' -iex 'set auto-load off' \
	-ex 'set confirm off' -ex 'set follow-fork-mode child' -ex 'set startup-with-shell off' \
	-ex "break $breakpoint" -ex run -ex 'echo -- begin\n' -ex bt -ex 'echo -- end\n' -ex kill \
	--args "$program" "$@" 2>&1)

case $out in
*"ptrace: Operation not permitted"* | *"Could not trace the inferior"*)
	echo "gdb may not trace: skipped"
	exit 77
	;;
esac

fail()
{
	printf '%s\n%s\n' "$1" "$out"
	exit 1
}

trace=$(printf '%s\n' "$out" | sed -n '/^-- begin/,/^-- end/p')
printf '%s\n' "$trace" | grep -q '^#0 ' || fail "no backtrace: was the breakpoint hit?"
for bad in 'corrupt stack' 'previous frame' 'Backtrace stopped' 'Cannot access memory' ' ?? ('; do
	printf '%s\n' "$trace" | grep -qF -- "$bad" && fail "bt says: $bad"
done
last=$(printf '%s\n' "$trace" | grep '^#' | tail -n 1)
case $last in
*gort*context_*) ;; # clang writes gort.context_start
*) fail "the outermost frame is not the context's entry: $last" ;;
esac
exit 0
