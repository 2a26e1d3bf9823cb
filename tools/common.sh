# shellcheck shell=bash
# common.sh - what ./dev and tools/ci share: messages, packages, the list of sources, ctest.

say()
{
	if [ -t 1 ]; then printf '\033[1m== %s\033[0m\n' "$*"; else printf '== %s\n' "$*"; fi
}

die()
{
	echo "$*" >&2
	exit 1
}

# need COMMAND | COMMAND=PACKAGE | /FILE=PACKAGE ...: install by apt the packages whose command or
# file is missing. Without apt, say so and stop.
need()
{
	local want missing=() root=()

	for want; do
		case $want in
		/*) [ -e "${want%%=*}" ] || missing+=("${want#*=}") ;;
		*) command -v "${want%%=*}" >/dev/null || missing+=("${want#*=}") ;;
		esac
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || die "Please install what Debian calls: ${missing[*]}"
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || die "Please have root install: ${missing[*]}"
		root=(sudo)
	fi
	say "Installing by apt: ${missing[*]}"
	"${root[@]}" apt-get -q -o DPkg::Lock::Timeout=120 update </dev/null >/dev/null ||
		echo "apt-get update failed: going on with the lists that are here" >&2
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
		-o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 \
		install --no-install-recommends "${missing[@]}" </dev/null ||
		die "apt cannot install ${missing[*]}"
}

need_build()
{
	need cmake ninja=ninja-build gcc /usr/include/stdio.h=libc6-dev
}

# Names are looked up by it where the build finds it (GORT_CARES).
need_cares() { need /usr/include/ares.h=libc-ares-dev; }

# Every C source. gort.h is set by hand: its columns are the manual.
sources()
{
	find src sim include extra tests examples bench -name '*.[ch]' ! -path include/gort.h | sort
}

# steady PRESET: sets steady, the command under which its tests run. The shadow memory of sanitizers has
# no room for the widest address randomisation.
steady()
{
	steady=()
	case $1 in
	asan* | tsan*)
		if [ "$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0)" -gt 28 ] &&
			setarch -R true 2>/dev/null; then
			steady=(setarch -R)
		fi
		;;
	esac
}

# count_ctest LOG: sets passed, failed, skipped.
count_ctest()
{
	local total

	total=$(sed -n 's/.* tests passed, .* failed out of \([0-9]*\)$/\1/p' "$1")
	failed=$(sed -n 's/.* tests passed, \([0-9]*\) tests failed out of .*/\1/p' "$1")
	skipped=$(grep -c '\*\*\*Skipped' "$1")
	if [ -z "$failed" ]; then
		total=1 failed=1 skipped=0 # it was stopped, or there was nothing to run
	fi
	# shellcheck disable=SC2034
	passed=$((total - failed - skipped))
}

# run_ctest PRESET LOG [OPTION...]: run what was built, for $most_seconds at most (1500 if unset); sets
# passed, failed, skipped.
run_ctest()
{
	local preset=$1 log=$2

	shift 2
	steady "$preset"
	"${steady[@]}" timeout -k 30 "${most_seconds:-1500}" ctest --test-dir "build/$preset" -j "$(jobs_for_tests)" \
		--output-on-failure --no-tests=error "$@" </dev/null 2>&1 | tee "$log"
	count_ctest "$log"
}

# Tests wait as much as they compute; too many at once, and those that watch the clock suffer.
jobs_for_tests()
{
	local n
	n=$(nproc)
	echo $((n < 2 ? 2 : n > 8 ? 8 : n))
}
