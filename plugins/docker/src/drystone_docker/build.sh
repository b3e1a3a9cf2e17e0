# Runs as root in the container that becomes an image. This folder is a volume, of which no image has anything.
set -u
umask 022
here=/drystone-build
. "$here/settings.sh"
rm -f "$here/settings.sh" # it may hold credentials
export PIP_CACHE_DIR=/drystone-cache/pip UV_CACHE_DIR=/drystone-cache/uv UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 DEBIAN_FRONTEND=noninteractive

part() { echo "drystone: $1"; }

if [ -s "$here/packages.txt" ]; then
  part "system packages"
  command -v apt-get > /dev/null || exit 20
  apt-get update -q && xargs apt-get install -q -y --no-install-recommends < "$here/packages.txt" || exit 21
  apt-get clean
  rm -rf /var/lib/apt/lists/*
fi

part "Python"
python=$(command -v "$DRYSTONE_PYTHON") || exit 30
"$python" -c 'import sys; print(sys.version); sys.exit(sys.version_info < (3, 11))' || exit 31

install_uv() {
  if "$python" -m pip --version > /dev/null 2>&1; then
    "$python" -m pip install -q --target "$here/tools" uv
  else
    "$python" -m venv "$here/tools" && "$here/tools/bin/python" -m pip install -q uv
  fi
}
kept="/drystone-cache/bin/uv-$(uname -m)"
uv=$(command -v uv || find "$kept" -mtime -30 2> /dev/null)
"${uv:-false}" --version > /dev/null 2>&1 || { # none, or that of another C library
  uv="$here/tools/bin/uv"
  { [ -n "${DRYSTONE_INDEX:-}" ] && (export PIP_INDEX_URL="$DRYSTONE_INDEX" && install_uv 2> /dev/null); } || install_uv || exit 32
  mkdir -p /drystone-cache/bin && cp "$uv" "$kept.$$" && mv "$kept.$$" "$kept"
}

part "packages"
"$uv" venv --quiet --system-site-packages --python "$python" /opt/drystone || exit 33
"$uv" pip install --python /opt/drystone/bin/python --compile-bytecode \
  --requirement "$here/requirements.txt" --constraint "$here/constraints.txt" || exit 40
/opt/drystone/bin/python -P "$here/inventories.py" > "$here/environment.json" || exit 41
chmod -R a+rX /opt/drystone
