#!/bin/bash
# treesum_test.sh MAXRSS TREESUM... - test treesum (a command, maybe under an emulator) on trees
# made for it, against find and sha256sum. RSS_LIMIT_KIB=0 turns the bound on memory off.
set -u -o pipefail
export LC_ALL=C

if [ $# -lt 2 ]; then
	echo "Usage: $0 MAXRSS TREESUM..." >&2
	exit 2
fi
maxrss=$1
shift
treesum=("$@")
rss_limit=${RSS_LIMIT_KIB:-65536}
work=$(mktemp -d "${TMPDIR:-/tmp}/treesum.XXXXXX") || exit 1
checks=0
stuck=                             # process id of a treesum in the background

cleanup()
{
	[ -z "$stuck" ] || kill -9 "$stuck"
	chmod -R u+rwx "$work" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT

fail()
{
	echo "FAIL: $*" >&2
	[ -s "$work/err" ] && head -n 5 "$work/err" | cut -c 1-300 >&2
	exit 1
}

# expect STATUS ARGUMENT...: run treesum, its output to out and err.
expect()
{
	local want=$1 got=0
	shift
	timeout 300 "${treesum[@]}" "$@" >"$work/out" 2>"$work/err" || got=$?
	[ "$got" -eq "$want" ] || fail "treesum $*: exit status $got, not $want"
	checks=$((checks + 1))
}

# What the tools make of the same paths.
reference()
{
	find -H "$@" -type f -print0 | sort -z | xargs -0 -r sha256sum --
}

same()
{
	cmp "$1" "$2" >&2 || fail "$3"
	checks=$((checks + 1))
}

quiet()
{
	[ ! -s "$work/err" ] || fail "$1: messages without reason"
}

says()
{
	grep -q -F -e "$1" "$work/err" || fail "no message '$1'"
	checks=$((checks + 1))
}

# compare PATH...: sorted output is the tools' to the byte, unsorted output the same lines.
compare()
{
	reference "$@" >"$work/ref"
	expect 0 --sort -- "$@"
	quiet "$*"
	same "$work/out" "$work/ref" "--sort $*: differs from sha256sum"
	expect 0 -- "$@"
	quiet "$*"
	sort "$work/out" >"$work/out.sorted"
	sort "$work/ref" >"$work/ref.sorted"
	same "$work/out.sorted" "$work/ref.sorted" "$*: differs from sha256sum"
}

make_tree()
{
	mkdir -p tree/sub/deeper tree/empty $'tree/dir\nline' 'tree/dir\back' "tree/with space"
	echo plain >tree/plain
	: >tree/empty-file
	echo 1 >$'tree/new\nline'
	echo 2 >'tree/back\slash'
	echo 3 >$'tree/carriage\rreturn'
	echo 4 >$'tree/all\\of\nthem\r'
	echo 5 >'tree/ leading and trailing '
	echo 6 >tree/-dash
	echo 7 >tree/--sort
	echo 8 >$'tree/not\xff\xfeutf8'
	echo 9 >$'tree/\x01control'
	echo 10 >tree/.hidden
	echo 11 >'tree/*?["'
	echo 12 >$'tree/dir\nline/x'
	echo 13 >$'tree/dir\\back/new\nline'
	echo 14 >tree/sub/deeper/y
	echo 15 >tree/sub.z        # sorts before sub/, as bytes
	echo 16 >tree/sub0
	echo 17 >"tree/with space/z"
	echo 18 >tree/UPPER        # before lower case, as bytes
	head -c 300000 /dev/zero >tree/larger-than-a-buffer
	mkfifo tree/fifo tree/sub/fifo
	ln -s plain tree/link
	ln -s sub tree/link-to-dir
	ln -s . tree/loop
	ln -s nowhere tree/dangling
	ln -s tree root-link
	ln -s tree/plain file-link
	echo dash >-dash.txt
}

test_tree()
{
	make_tree
	compare tree
	compare tree/
	compare tree//
	compare ./tree tree/sub tree/plain
	compare root-link file-link
	compare tree/fifo tree/empty
	compare /dev/null
	(cd tree && "${treesum[@]}" --sort) >out 2>err || fail "without a PATH"
	(cd tree && reference .) >ref
	same out ref "without a PATH: not ."
	expect 0 -- -dash.txt
	sha256sum -- -dash.txt >ref
	same out ref "-- -dash.txt"
	expect 0 tree/sub --sort --workers 1
	expect 0 --workers=100 tree
}

test_usage()
{
	local n

	expect 0 --help
	grep -q '^Usage: treesum' out || fail "--help says nothing"
	expect 0 --version
	grep -q '[0-9]\.[0-9]' out || fail "--version says nothing"
	for n in 0 -1 1025 x 3x '' 99999999999999999999; do
		expect 2 --workers "$n" tree
		says "1 to 1024"
	done
	expect 2 --workers
	expect 2 --no-such-option tree
	says "treesum: unrecognized option"
	expect 2 ''
	[ ! -s out ] || fail "results after wrong usage"
}

test_errors()
{
	expect 1 no/such tree/plain tree/dangling
	says "treesum: no/such: No such file or directory"
	says "treesum: tree/dangling: No such file or directory"
	sha256sum tree/plain >ref
	same out ref "a PATH that fails must not stop the others"
	expect 1 $'no\nsuch'
	says 'treesum: no\nsuch: '
	for n in tree --help; do
		"${treesum[@]}" "$n" >/dev/full 2>err
		[ $? -eq 1 ] || fail "$n >/dev/full: exit status"
		says "treesum: standard output: No space left on device"
		"${treesum[@]}" "$n" >&- 2>err
		[ $? -eq 1 ] || fail "$n >&-: exit status"
	done
}

test_unreadable()
{
	if [ "$(id -u)" -eq 0 ]; then
		echo "unreadable files: skipped, root reads everything"
		return
	fi
	mkdir -p locked/dir locked/search
	echo a >locked/a
	echo b >locked/b
	echo c >locked/dir/c
	echo d >locked/search/d
	chmod 0 locked/a locked/dir
	chmod 400 locked/search
	expect 1 locked
	says "treesum: locked/a: Permission denied"
	says "treesum: locked/dir: Permission denied"
	says "treesum: locked/search/d: Permission denied"
	sha256sum locked/b >ref
	same out ref "what can be read beside what cannot"
}

# names of 150 bytes; three pieces of 20 levels, each too short to be refused, moved into one
# another: paths of 9,000 bytes, which only openat can reach.
test_deep()
{
	local name piece i at bottom
	name=$(printf 'n%.0s' {1..150})
	piece=$name
	for i in {2..20}; do
		piece=$piece/$name
	done
	for i in 1 2 3; do
		mkdir -p "piece$i/$piece"
		at=piece$i
		while [ "$at" != "piece$i/$piece" ]; do
			at=$at/$name
			mkdir "$at/a" "$at/z"
			echo deep >"$at/f"
			echo deep >"$at/a/f"
			echo deep >"$at/z/f"
		done
	done
	mv piece3 "piece2/$piece/"
	mv piece2 "piece1/$piece/"
	expect 0 --sort piece1
	quiet "deep tree"
	[ "$(wc -l <out)" -eq 180 ] || fail "deep tree: $(wc -l <out) files of 180"
	[ "$(cut -c 1-64 out | sort -u)" = "$(echo deep | sha256sum | cut -c 1-64)" ] ||
		fail "deep tree: wrong sums"
	bottom=piece1/$piece/piece2/$piece/piece3/$piece
	grep -q -x -F "$(echo deep | sha256sum | cut -c 1-64)  $bottom/z/f" out ||
		fail "deep tree: the deepest file is missing"
	sort -c -k 2 out || fail "deep tree: not in order"
	checks=$((checks + 4))
}

# More levels than there may be open files.
test_levels()
{
	local at=levels i
	for i in {1..1000}; do
		at=$at/d
	done
	mkdir -p "$at"
	at=levels
	for i in {1..1000}; do
		at=$at/d
		echo "$i" >"$at/f"
		[ $((i % 50)) -ne 0 ] || mkdir "$at/a" "$at/e"
		[ $((i % 100)) -ne 0 ] || echo "$i" >"$at/e/g"
	done
	(ulimit -n 160 && compare levels) || exit 1
	(ulimit -n 160 && expect 2 --workers 1024 levels && says "ulimit -n") || exit 1
}

measure()
{
	local kib
	timeout 300 "$maxrss" "$work/rss" "${treesum[@]}" "$@" >"$work/out" 2>"$work/err" ||
		fail "treesum $*: failed under maxrss"
	kib=$(cat "$work/rss")
	echo "treesum $*: at most $kib KiB resident"
	[ "$rss_limit" -eq 0 ] || [ "$kib" -lt "$rss_limit" ] || fail "$kib KiB is over $rss_limit"
	checks=$((checks + 1))
}

make_many()
{
	mkdir -p many
	seq 1 3000 | split -l 1 -a 4 -d - many/file-
}

test_many()
{
	make_many
	compare many
	truncate -s 300M sparse
	measure sparse many
	sha256sum sparse >ref
	grep -F -x -q -f ref out || fail "sum of the sparse file"
	"${treesum[@]}" many 2>err | head -n 1 >/dev/null
	[ "${PIPESTATUS[0]}" -eq 1 ] || fail "broken pipe: exit status"
	says "treesum: standard output: Broken pipe"
}

# Until the process has filled a pipe, or about, and has read nothing for a while: it waits for whoever takes
# its output.
wait_until_stuck()
{
	local before=-1 now=0 written still=0 i
	for ((i = 0; i < 600 && still < 3; i++)); do
		sleep 0.1
		read -r now written < <(awk '$1 == "rchar:" { r = $2 } $1 == "wchar:" { print r, $2 }' "/proc/$1/io") ||
			return 1
		if [ "$written" -ge 32768 ] && [ "$now" = "$before" ]; then
			still=$((still + 1))
		else
			still=0
		fi
		before=$now
	done
	[ "$still" -eq 3 ]
}

# Output that nobody reads stops the walk half way: start so, and wait for it.
start_stuck()
{
	"${treesum[@]}" --workers 2 many >pipe 2>err &
	stuck=$!
	exec 3<pipe
	wait_until_stuck "$stuck" || fail "treesum does not wait for its reader"
}

# finish_stuck WHAT: read on; nothing hangs, and what is printed is right.
finish_stuck()
{
	local rc=0
	timeout 60 cat <&3 >out || fail "$1: treesum hangs"
	exec 3<&-
	wait "$stuck" || rc=$?
	stuck=
	[ "$rc" -eq 1 ] || fail "$1: exit status $rc"
	sort out | comm -23 - ref.sorted >wrong
	[ ! -s wrong ] || fail "$1: wrong lines"
	checks=$((checks + 3))
}

# Files that were listed vanish, or become FIFOs or links, before they are opened.
test_vanishing()
{
	local names links
	names=(many/*)
	links=("${names[@]/#many/..\/links}")      # each to a file of its name
	mkdir links
	touch "${names[@]/#many/links}"
	reference many | sort >ref.sorted
	mkfifo pipe
	start_stuck
	rm "${names[@]}"
	mkfifo "${names[@]}"
	finish_stuck "files become FIFOs"
	says "no longer a regular file"

	rm "${names[@]}"
	make_many
	start_stuck
	ln -s -f -t many "${links[@]}"
	finish_stuck "files become links"
	says "no longer a regular file"

	rm -r many
	make_many
	start_stuck
	rm -r many
	finish_stuck "files vanish"
	says "No such file or directory"
}

# On a terminal: progress there, at most ten times a second, and the line is cleared at the end.
test_progress()
{
	local command start updates elapsed
	if ! command -v script >/dev/null; then
		echo "progress: skipped, there is no script(1)"
		return
	fi
	command=$(printf '%q ' "${treesum[@]}")
	script -q -e -c "$command tree no/such >out2" typescript </dev/null >/dev/null
	grep -q "no/such: No such file" typescript || fail "a message on a terminal"
	start=$(date +%s%N)
	command="$command sparse sparse sparse sparse >out"
	script -q -e -c "$command" typescript </dev/null >/dev/null ||
		fail "on a terminal: exit status"
	elapsed=$((($(date +%s%N) - start) / 100000000 + 1))
	sha256sum sparse sparse sparse sparse >ref
	same out ref "results beside progress"
	grep -q ' files, .* MB, .* MB/s' typescript || fail "no progress on a terminal"
	updates=$(grep -o ' MB/s' typescript | wc -l)
	[ "$updates" -le "$elapsed" ] || fail "$updates updates in $elapsed tenths of a second"
	checks=$((checks + 3))
}

cd "$work" || exit 1
for t in tree usage errors unreadable deep levels many progress vanishing; do
	"test_$t"
done
echo "treesum: $checks checks passed"
