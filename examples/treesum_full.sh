#!/bin/bash
# treesum_full.sh MAXRSS TREESUM... - treesum's promise about memory, at full size: 100,000 files
# in one directory, 10,000 in others, and a sparse file of 4 GiB, each under 64 MiB resident
# (RSS_LIMIT_KIB; 0: not looked at), with sha256sum's results.
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
trap 'rm -rf "$work"' EXIT

fail()
{
	echo "FAIL: $*" >&2
	[ -s err ] && head -n 5 err | cut -c 1-300 >&2
	exit 1
}

# measure ARGUMENT...: run treesum; its output to out.
measure()
{
	local kib start
	start=$(date +%s%N)
	timeout 1200 "$maxrss" rss "${treesum[@]}" "$@" >out 2>err || fail "treesum $*"
	[ ! -s err ] || fail "treesum $*: messages without reason"
	kib=$(cat rss)
	echo "treesum $*: $((($(date +%s%N) - start) / 1000000)) ms, at most $kib KiB resident"
	[ "$rss_limit" -eq 0 ] || [ "$kib" -lt "$rss_limit" ] || fail "$kib KiB is over $rss_limit"
}

cd "$work" || exit 1
mkdir -p tree/flat
seq 1 100000 | split -l 1 -a 5 -d - tree/flat/file-
for i in {0..9}; do
	mkdir -p "tree/dir$i/sub"
	seq $((i * 1000)) $((i * 1000 + 999)) | split -l 1 -a 4 -d - "tree/dir$i/sub/f"
done
truncate -s 4G sparse

find tree -type f -print0 | sort -z | xargs -0 sha256sum >ref
[ "$(wc -l <ref)" -eq 110000 ] || fail "the tree was not made"
measure tree
sort -k 2 out | cmp - ref || fail "differs from sha256sum"
measure --workers 64 tree
sort -k 2 out | cmp - ref || fail "--workers 64 differs from sha256sum"
measure --sort tree
cmp out ref || fail "--sort differs from sha256sum"

sha256sum sparse >ref
measure sparse tree/dir0
grep -q -x -F -f ref out || fail "sum of the sparse file"
echo "treesum: full size passed"
