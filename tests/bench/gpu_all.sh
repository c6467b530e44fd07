#!/bin/sh
# All checks and measurements of a GPU, in less than eight minutes: sh tests/bench/gpu_all.sh
# Models have random weights; nothing is downloaded. What fails or takes too long is named at the end.
cd "$(dirname "$0")/../.." || exit 1
failed=""
measure() {
    limit=$1
    shift
    echo "== $*"
    timeout "$limit" "$@" || failed="$failed
  $*"
}
measure 120 python -m pytest -n 0 -m gpu -q tests/backbone tests/vlm tests/index
measure 60 python tests/bench/bench_stream.py --rounds 1 --pictures 512
measure 110 python tests/bench/bench_gpu.py --models ViT-B/32
measure 90 python tests/bench/bench_gpu.py --models ViT-L/14 --workers 16
measure 50 python tests/bench/bench_judge.py --rounds 1 --pictures 48
measure 60 python tests/bench/bench_rewriter.py --rounds 1
measure 30 python tests/bench/bench_search.py --images 500000 --rounds 1
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
