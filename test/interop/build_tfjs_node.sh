#!/usr/bin/env bash
# Builds @tensorflow/tfjs-node for the runner node-tensorflow (test/run.mjs).
#
# Makes @tensorflow/tfjs-node 4.22.0 run without its own download: the N-API addon is compiled from the source that the
# npm package carries, against the TensorFlow C API inside PyPI's tensorflow-cpu wheel (libtensorflow_cc.so.2 exports
# all TF_* and TFE_* that the addon calls).
#
#   build_tfjs_node.sh [folder]          the folder with (or for) package.json and node_modules; default: tfnode-app. Not this
#                              package's checkout: tfjs-node is an optional peer of it, of which npm install NAME says
#                              'up to date' and installs nothing
#   TF_VERSION=2.15.0          the wheel; tfjs-node 4.22 was made for 2.9.1. 2.12.0, 2.16.2 and 2.21.0 run too
#   TF_STORE=folder            where the libraries are kept; default: tensorflow-c beside the folder. Kept from run to run
#                              it saves the download
#
# Needs bash, node >= 20 with npm, g++ >= 9, python3 with pip; x86-64 Linux with glibc. Safe to run again: what is there
# already is kept.
#
# Measured on 2 cores: npm 10 to 25 s, 300 MB; wheel 207 MB, 15 s, removed once unpacked to 595 MB, 5 s
# (libtensorflow_cc.so.2 565 MB, libtensorflow_framework.so.2 49 MB, headers 9 MB); compiling 12 s; 0.7 to 1.2 minutes
# in all, 5 s if repeated.
set -euo pipefail

TFJS_VERSION=4.22.0
TF_VERSION=${TF_VERSION:-2.15.0}
mkdir -p "${1:-tfnode-app}"
folder=$(realpath "${1:-tfnode-app}")
store=$(realpath -m "${TF_STORE:-$folder/../tensorflow-c}")/$TF_VERSION
cd "$folder"
addon=node_modules/@tensorflow/tfjs-node

# 1. The npm package, without its install script, which would download. Saved in package.json, or the next npm install
# there would remove it.
[ -f package.json ] || echo '{"private": true}' > package.json
installed=$(node -p "require('./$addon/package.json').version" 2>/dev/null || true)
if [ "$installed" != "$TFJS_VERSION" ]; then
  npm install --save-exact --ignore-scripts --no-audit --no-fund "@tensorflow/tfjs-node@$TFJS_VERSION"
  [ -f "$addon/binding.gyp" ] || { echo "npm did not install tfjs-node in $PWD; take a folder of its own" >&2; exit 1; }
fi

# 2. The libraries and headers, taken out of the wheel; the wheel itself is not installed, so any Python will do.
if [ ! -f "$store/done" ]; then
  rm -rf "$store"
  mkdir -p "$store"
  python3 -m pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_27_x86_64 \
    --dest "$store" "tensorflow-cpu==$TF_VERSION"
  python3 - "$store" <<'PY'
import glob, os, shutil, sys, zipfile
store = sys.argv[1]
wheel, = glob.glob(os.path.join(store, '*.whl'))
with zipfile.ZipFile(wheel) as files:
    for name in files.namelist():
        parts = name.split('/')
        if parts[0] == 'tensorflow' and len(parts) == 2 and parts[1].endswith('.so.2'):
            to = os.path.join(store, 'lib', parts[1])
        elif name.startswith(('tensorflow/include/tensorflow/c/', 'tensorflow/include/tensorflow/core/platform/',
                              'tensorflow/include/tensorflow/tsl/', 'tensorflow/include/tsl/',
                              'tensorflow/include/xla/tsl/', 'tensorflow/include/xla/c/')) and name.endswith('.h'):
            to = os.path.join(store, *parts[1:])
        else:
            continue
        os.makedirs(os.path.dirname(to), exist_ok=True)
        with files.open(name) as source, open(to, 'wb') as target:
            shutil.copyfileobj(source, target, 1 << 20)
os.remove(wheel)
PY
  touch "$store/done"
fi
# Every C function that the addon calls must be exported, or it would only show at the first such call.
exported=$(nm -D --defined-only "$store"/lib/*.so.2 | sed -n 's/.* [TW] \(TFE\{0,1\}_[A-Za-z0-9]*\).*/\1/p' | sort -u)
called=$(grep -oh '\bTFE\?_[A-Za-z0-9]*(' "$addon"/binding/*.cc "$addon"/binding/*.h | tr -d '(' | grep -v '_Auto' | sort -u)
missing=$(comm -13 <(echo "$exported") <(echo "$called"))
[ -z "$missing" ] || { echo "TensorFlow $TF_VERSION does not export: $missing" >&2; exit 1; }

# 3. The addon. N-API only: of Node's headers node_api.h and js_native_api.h are all it takes.
napi=lib/napi-v8/tfjs_binding.node
made=$(cat "$addon/lib/made" 2>/dev/null || true)
if [ "$made" != "$TF_VERSION" ]; then
  include=$(node -p "require('path').resolve(process.execPath, '../../include/node')")
  if [ ! -f "$include/node_api.h" ]; then
    npm install --save-exact --ignore-scripts --no-audit --no-fund node-api-headers
    include=$(node -p "require('node-api-headers').include_dir")
  fi
  rm -rf "$addon/deps" "$addon/lib"
  ln -s "$(realpath --relative-to="$addon" "$store")" "$addon/deps"
  mkdir -p "$addon/$(dirname $napi)"
  g++ -std=c++17 -O2 -fPIC -shared -DNAPI_VERSION=8 -I"$include" -I"$addon/deps/include" \
    "$addon/binding/tfjs_backend.cc" "$addon/binding/tfjs_binding.cc" -o "$addon/$napi" \
    -L"$addon/deps/lib" -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 \
    -Wl,-rpath,'$ORIGIN/../../deps/lib'
  echo "$TF_VERSION" > "$addon/lib/made"
fi

# 4. It runs.
TF_CPP_MIN_LOG_LEVEL=2 node -e "
  const tf = require('@tensorflow/tfjs-node');
  const y = Array.from(tf.matMul([[1, 2], [3, 4]], [[5, 6], [7, 8]]).dataSync()).join();
  if (tf.getBackend() !== 'tensorflow' || y !== '19,22,43,50') {
    throw new Error(tf.getBackend() + ': ' + y);
  }
  console.log('tfjs-node ' + tf.version['tfjs-node'] + ' on TensorFlow ' + tf.backend().binding.TF_Version);"
