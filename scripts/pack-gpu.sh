#!/usr/bin/env bash
# Makes .gpu/pack.tar.xz: what a bare GPU machine lacks to build and test this. scripts/gpu.sh unpacks it there.
#
# In it: this machine's Node, the headers addons need, oneDNN (library and headers), Eigen's headers, dist/ and the
# packages that read models; the graphs that the benches measure (bench/cuda/export-graphs.mjs), and, where ../shared (or
# LATDYN_SHARED) is there, the models and references that the tests look at. For Linux on the same processor, with a
# glibc no older than this machine's. Say where they are, if not where Debian puts them, with DNNL_LIBRARY, DNNL_HEADERS
# and EIGEN_HEADERS.
set -euo pipefail
cd "$(dirname "$0")/.."

node scripts/setup.mjs
pack=$(mktemp -d)
trap 'rm -rf "$pack"' EXIT
mkdir -p "$pack/bin" "$pack/lib" "$pack/include"

cp -L "$(node -p process.execPath)" "$pack/bin/node"

# (awk reads to the end: ldconfig, cut off, would count as failed.)
dnnl=${DNNL_LIBRARY:-$(PATH=$PATH:/sbin ldconfig -p | awk '/libdnnl\.so\.[0-9]+ / && !found++ { print $NF }')}
[ -n "$dnnl" ] || { echo "pack-gpu: oneDNN's library was not found: set DNNL_LIBRARY" >&2; exit 1; }
cp -L "$dnnl" "$pack/lib/$(basename "$dnnl")"
ln -s "$(basename "$dnnl")" "$pack/lib/libdnnl.so"
# Debian's oneDNN is linked with OpenCL's loader.
opencl=$(ldd "$dnnl" | awk '/libOpenCL/ { print $3 }')
if [ -n "$opencl" ]; then cp -L "$opencl" "$pack/lib/"; fi
headers=${DNNL_HEADERS:-/usr/include}
cp "$headers"/dnnl*.h* "$pack/include/"
cp -r "$headers/oneapi" "$pack/include/"

eigen=${EIGEN_HEADERS:-/usr/include/eigen3}
mkdir "$pack/eigen"
cp -r "$eigen/Eigen" "$pack/eigen/"

mkdir "$pack/node-api"
cp node_modules/node-api-headers/include/*.h node_modules/node-addon-api/*.h "$pack/node-api/"
cp -r dist "$pack/dist"
# The two packages that dist/ cannot be without where it reads models, and what they need.
mkdir "$pack/node_modules"
for package in protobufjs long fast-png fflate iobuffer; do cp -r "node_modules/$package" "$pack/node_modules/"; done

node bench/cuda/export-graphs.mjs "$pack/graphs"
shared=${LATDYN_SHARED:-../shared}
mkdir -p "$pack/shared/models" "$pack/shared/reference"
for model in mnist-conv-k2 mnist-conv-k16 mnist-conv-k128 taef2; do
  if [ ! -d "$shared/models/$model" ]; then
    echo "pack-gpu: $model is left out, there is no $shared/models/$model"
    continue
  fi
  mkdir "$pack/shared/models/$model"
  cp "$shared/models/$model"/*.onnx "$shared/models/$model"/*.json "$pack/shared/models/$model/"
  cp "$shared/reference/$model".* "$pack/shared/reference/"
done

printf 'pack-gpu: MB before compression:\n'
du -sm --apparent-size "$pack"/* | while read -r size path; do printf '  %4d %s\n' "$size" "$(basename "$path")"; done
mkdir -p .gpu
# Sorted, and with a dictionary that reaches from one copy of the same weights to the next.
tar -C "$pack" --sort=name -c . | xz -T1 --lzma2=preset=3,dict=96MiB > .gpu/pack.tar.xz
bytes=$(stat -c %s .gpu/pack.tar.xz)
echo "pack-gpu: .gpu/pack.tar.xz, $((bytes / 1000000)) MB"
[ "$bytes" -lt 60000000 ] || { echo "pack-gpu: that is more than 60 MB" >&2; exit 1; }
