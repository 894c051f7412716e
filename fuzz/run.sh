#!/bin/sh
# Runs fuzz targets one after another.
#
#   fuzz/run.sh SECONDS [TARGET...]   each target for SECONDS; all targets when none is named
#   fuzz/run.sh 0 [TARGET...]         replays the corpora and stops
#
# SANITIZER=none (the default) needs nothing but stable Rust. SANITIZER=address also sees which
# bytes are compared, and so finds more; it switches unstable compiler flags on.
set -eu

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
case $seconds in
    *[!0-9]*) echo "SECONDS must be a number, not '$seconds'" >&2; exit 2 ;;
esac
sanitizer=${SANITIZER:-none}
if [ "$sanitizer" != none ]; then
    export RUSTC_BOOTSTRAP=1
fi

cd "$(dirname "$0")/.."
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz

if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # names of targets hold no blanks
    set -- $(cargo fuzz list)
fi
for target in "$@"; do
    # What the fuzzer adds goes into `grown`, so that `corpus` holds only what somebody chose.
    if [ "$seconds" -eq 0 ]; then
        limit=-runs=0
        corpora=fuzz/corpus/$target
    else
        limit=-max_total_time=$seconds
        mkdir -p "fuzz/grown/$target"
        corpora="fuzz/grown/$target fuzz/corpus/$target"
    fi
    echo "== $target"
    # shellcheck disable=SC2086 # two folders are two arguments
    cargo fuzz run -s "$sanitizer" "$target" $corpora -- \
        -dict=fuzz/dicts/json.dict -max_len=4096 -timeout=10 -print_final_stats=1 "$limit"
done
