#!/usr/bin/env bash
# Builds, tests and measures on a machine with a GPU: nvcc, CMake, a C++ compiler, Python 3 with PyTorch; no Node, no
# packages, no network. What is missing there comes from .gpu/, which scripts/pack-gpu.sh makes beforehand.
#
#   scripts/gpu.sh [--quick] [--no-tests] [--no-bench] [--sanitize] [--out FOLDER]
#
#   --quick     benches at a tenth of the size alone; otherwise the full cases come after them
#   --sanitize  the test programs once more under compute-sanitizer: memcheck, then racecheck (slow)
#   --out       where results go (default: bench/results)
#
# In this order: build, kernel tests, tests through the addon, quick benches, full benches, sanitizers. A part that fails
# does not keep the next one from running, but the exit code is 1. Results are written as they come: gpu-run.log, the
# lines of every bench (gpu-*.jsonl), and after each of them the record <card>-<date>.json (quick ones: …-quick.json).
# Where there is no device everything is built for sm_90, and the tests say so.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=0 tests=1 bench=1 sanitize=0 out=bench/results
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=1 ;;
    --no-tests) tests=0 ;;
    --no-bench) bench=0 ;;
    --sanitize) sanitize=1 ;;
    --out) out=${2:?--out is followed by a folder}; shift ;;
    *) echo "gpu: unknown option $1; there are --quick, --no-tests, --no-bench, --sanitize and --out" >&2; exit 2 ;;
  esac
  shift
done
mkdir -p "$out"
exec > >(tee "$out/gpu-run.log") 2>&1

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
  [ -d node_modules ] || cp -r .gpu/pack/node_modules node_modules
}

# The log is kept; what is shown of it are the errors.
build() {
  command -v nvcc > /dev/null || export PATH="$PATH:/usr/local/cuda/bin"
  command -v nvcc > /dev/null || { echo "gpu: nvcc was not found" >&2; return 1; }
  local options=(-DCMAKE_BUILD_TYPE=Release "-DCMAKE_JS_INC=$PWD/.gpu/pack/node-api"
    "-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$PWD/.gpu/build/Release" "-DEIGEN_INCLUDE_DIR=$PWD/.gpu/pack/eigen")
  local keep_going=-k
  if command -v ninja > /dev/null; then options+=(-G Ninja) keep_going=-k0; fi
  # Code for the card that is here, and no other: that is twice as fast.
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | head -n 1 | tr -d .) || true
  capability=${capability:-90}
  # 9.0 has instructions that no other has.
  if [ "$capability" = 90 ]; then capability=90a; fi
  options+=("-DCMAKE_CUDA_ARCHITECTURES=$capability-real")
  echo "for sm_$capability on $(nproc) cores"
  local status=0
  DNNLROOT="$PWD/.gpu/pack" cmake -S . -B .gpu/build "${options[@]}" > "$out/gpu-build.log" 2>&1 &&
    cmake --build .gpu/build --parallel "$(nproc)" --target all cuda_device_tests cuda_bench -- "$keep_going" \
      >> "$out/gpu-build.log" 2>&1 || status=1
  if [ "$status" -ne 0 ]; then
    grep -E 'error|Error|FAILED|fatal' "$out/gpu-build.log" | head -n 30 || tail -n 30 "$out/gpu-build.log"
    echo "all of it is in $out/gpu-build.log"
  fi
  return "$status"
}

# The programs of native/test on the device, each under "$@".
run_tests() {
  local source name program status=0 code start
  for source in native/test/cuda_*_test.cpp; do
    name=$(basename "$source" .cpp) program=.gpu/build/${name}_on_device
    if [ ! -x "$program" ]; then
      echo "$name: was not built"
      status=1
      continue
    fi
    code=0 start=$SECONDS
    timeout 120 "$@" "$program" || code=$?
    echo "$name: exit code $code after $((SECONDS - start)) s"
    # 77: there is nothing to run on.
    if [ "$code" -ne 0 ] && [ "$code" -ne 77 ]; then status=1; fi
  done
  return "$status"
}

run_node_tests() {
  timeout 240 "$node" --test --test-reporter=spec test/cuda/*.test.mjs
}

# run_bench PROGRAM-OR-SCRIPT-ARGUMENTS… : appends the lines to FILE and reports what there is so far.
run_bench() {
  local file=$1 suffix=$2 status=0
  shift 2
  timeout 200 "$@" | tee -a "$out/gpu-$file$suffix.jsonl" || status=1
  python3 bench/cuda/report.py "$out/gpu-rows$suffix.jsonl" "$out/gpu-peers$suffix.jsonl" "$out" "$suffix" \
    > "$out/gpu-table$suffix.txt" || status=1
  return "$status"
}

# All benches at one size: ours before the peers, so that those come last who may take longest.
run_benches() {
  local suffix=$1 part_name
  shift
  rm -f "$out/gpu-rows$suffix.jsonl" "$out/gpu-peers$suffix.jsonl"
  part "limits$suffix" run_bench peers "$suffix" python3 bench/cuda/peers.py --only limits
  for part_name in extraction convolutions kernels; do
    part "$part_name$suffix" run_bench rows "$suffix" .gpu/build/cuda_bench "$@" --only "$part_name" \
      --graphs .gpu/pack/graphs --points .gpu/points
  done
  for part_name in extraction convolutions kernels; do
    part "peers of $part_name$suffix" run_bench peers "$suffix" python3 bench/cuda/peers.py "$@" --only "$part_name" \
      --graphs .gpu/pack/graphs --points .gpu/points
  done
  printf '\n'
  cat "$out/gpu-table$suffix.txt"
}

unpack
node=$PWD/.gpu/pack/bin/node
export LD_LIBRARY_PATH="$PWD/.gpu/pack/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LATDYN_ADDON="$PWD/.gpu/build/Release/latent_dynamics.node"
if [ -z "${LATDYN_SHARED:-}" ] && [ ! -d ../shared ]; then export LATDYN_SHARED="$PWD/.gpu/pack/shared"; fi
part "build" build

if [ "$tests" -eq 1 ]; then
  part "kernel tests" run_tests
  part "tests through the addon" run_node_tests
fi
if [ "$bench" -eq 1 ]; then
  if nvidia-smi > /dev/null 2>&1; then
    run_benches -quick --quick
    if [ "$quick" -eq 0 ]; then run_benches ""; fi
  else
    printf '\n== benches\nskipped: no CUDA device\n'
  fi
fi
if [ "$sanitize" -eq 1 ]; then
  part "memcheck" run_tests compute-sanitizer --tool memcheck --error-exitcode 9
  part "racecheck" run_tests compute-sanitizer --tool racecheck --error-exitcode 9
fi

if [ ${#failed[@]} -gt 0 ]; then
  names=$(printf ', %s' "${failed[@]}")
  printf '\ngpu: failed: %s (%d s in all)\n' "${names:2}" "$SECONDS"
  exit 1
fi
printf '\ngpu: done in %d s\n' "$SECONDS"
