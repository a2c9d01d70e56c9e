#!/usr/bin/env bash
# Builds, tests and measures on a machine with a GPU: nvcc, CMake, a C++ compiler, Python 3 with PyTorch; no Node, no
# packages, no network. What is missing there comes from .gpu/, which scripts/pack-gpu.sh makes beforehand.
#
#   scripts/gpu.sh [--quick] [--no-tests] [--no-bench] [--sanitize] [--out FOLDER]
#
#   --quick     tenths of the large cases in the benches
#   --sanitize  the test programs once more under compute-sanitizer: memcheck, then racecheck (slow)
#   --out       where <card>-<date>.json goes (default: bench/results)
#
# Every part says how long it took; a part that fails does not keep the next one from running, but the exit code is 1.
# Where there is no device everything is built, and the tests say so.
set -euo pipefail
cd "$(dirname "$0")/.."

tests=1 bench=1 sanitize=0 out=bench/results bench_options=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) bench_options+=(--quick) ;;
    --no-tests) tests=0 ;;
    --no-bench) bench=0 ;;
    --sanitize) sanitize=1 ;;
    --out) out=${2:?--out is followed by a folder}; shift ;;
    *) echo "gpu: unknown option $1; there are --quick, --no-tests, --no-bench, --sanitize and --out" >&2; exit 2 ;;
  esac
  shift
done

failed=()
part() {
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@" || failed+=("$name")
  printf -- '-- %s: %d s\n' "$name" $((SECONDS - start))
}

unpack() {
  [ -f .gpu/pack.tar.xz ] || { echo "gpu: .gpu/pack.tar.xz is missing: scripts/pack-gpu.sh makes it" >&2; exit 1; }
  rm -rf .gpu/pack
  mkdir -p .gpu/pack
  tar -C .gpu/pack -xJf .gpu/pack.tar.xz
  [ -d dist ] || cp -r .gpu/pack/dist dist
}

build() {
  command -v nvcc > /dev/null || export PATH="$PATH:/usr/local/cuda/bin"
  command -v nvcc > /dev/null || { echo "gpu: nvcc was not found" >&2; exit 1; }
  local options=(-DCMAKE_BUILD_TYPE=Release "-DCMAKE_JS_INC=$PWD/.gpu/pack/node-api"
    "-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$PWD/.gpu/build/Release" "-DEIGEN_INCLUDE_DIR=$PWD/.gpu/pack/eigen")
  if command -v ninja > /dev/null; then options+=(-G Ninja); fi
  # Code for the card that is here, and no other: that is twice as fast.
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | head -n 1 | tr -d .) || true
  if [ -n "$capability" ]; then options+=("-DCMAKE_CUDA_ARCHITECTURES=$capability-real"); fi
  DNNLROOT="$PWD/.gpu/pack" cmake -S . -B .gpu/build "${options[@]}"
  cmake --build .gpu/build --parallel "$(nproc)"
  cmake --build .gpu/build --parallel "$(nproc)" --target cuda_device_tests cuda_bench
}

run_tests() {
  local program status=0 code
  for program in .gpu/build/cuda_*_on_device; do
    code=0
    timeout 300 "$@" "$program" || code=$?
    # 77: there is nothing to run on.
    if [ "$code" -ne 0 ] && [ "$code" -ne 77 ]; then
      echo "$(basename "$program"): exit code $code"
      status=1
    fi
  done
  return "$status"
}

run_node_tests() {
  "$node" --test --test-reporter=spec test/cuda/device.test.mjs
}

run_bench() {
  if ! nvidia-smi > /dev/null 2>&1; then
    echo "skipped: no CUDA device"
    return 0
  fi
  local status=0
  .gpu/build/cuda_bench "${bench_options[@]}" | tee .gpu/kernels.jsonl || status=1
  python3 bench/cuda/peers.py "${bench_options[@]}" | tee .gpu/peers.jsonl || status=1
  python3 bench/cuda/report.py .gpu/kernels.jsonl .gpu/peers.jsonl "$out" || status=1
  return "$status"
}

unpack
node=$PWD/.gpu/pack/bin/node
export LD_LIBRARY_PATH="$PWD/.gpu/pack/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LATDYN_ADDON="$PWD/.gpu/build/Release/latent_dynamics.node"
printf '== build\n'
start=$SECONDS
build > .gpu/build.log 2>&1 || { tail -n 40 .gpu/build.log; echo "gpu: the build failed; all of it is in .gpu/build.log" >&2; exit 1; }
printf -- '-- build: %d s\n' $((SECONDS - start))

if [ "$tests" -eq 1 ]; then
  part "kernel tests" run_tests
  part "tests through the addon" run_node_tests
fi
if [ "$bench" -eq 1 ]; then part "benches" run_bench; fi
if [ "$sanitize" -eq 1 ]; then
  part "memcheck" run_tests compute-sanitizer --tool memcheck --error-exitcode 9
  part "racecheck" run_tests compute-sanitizer --tool racecheck --error-exitcode 9
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf '\ngpu: failed: %s\n' "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
printf '\ngpu: done\n'
