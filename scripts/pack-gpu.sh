#!/usr/bin/env bash
# Makes .gpu/pack.tar.xz: what a bare GPU machine lacks to build and test this. scripts/gpu.sh unpacks it there.
#
# In it: this machine's Node, the headers addons need, oneDNN (library and headers), Eigen's headers, dist/. For
# Linux on the same processor, with a glibc no older than this machine's. Say where they are, if not where Debian
# puts them, with DNNL_LIBRARY, DNNL_HEADERS and EIGEN_HEADERS.
set -euo pipefail
cd "$(dirname "$0")/.."

node scripts/setup.mjs
pack=$(mktemp -d)
trap 'rm -rf "$pack"' EXIT
mkdir -p "$pack/bin" "$pack/lib" "$pack/include"

cp -L "$(node -p process.execPath)" "$pack/bin/node"

dnnl=${DNNL_LIBRARY:-$(PATH=$PATH:/sbin ldconfig -p | awk '/libdnnl\.so\.[0-9]+ / { print $NF; exit }')}
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

mkdir -p .gpu
tar -C "$pack" -c . | xz -T0 -6 > .gpu/pack.tar.xz
bytes=$(stat -c %s .gpu/pack.tar.xz)
echo "pack-gpu: .gpu/pack.tar.xz, $((bytes / 1000000)) MB"
[ "$bytes" -lt 60000000 ] || { echo "pack-gpu: that is more than 60 MB" >&2; exit 1; }
