#!/usr/bin/env bash
# Makes .venv from the pinned versions and builds ros2_ws; called by `make setup`.
#
# Each step leaves a stamp with a hash of its inputs when it has ended, so that a second run takes
# seconds and an interrupted one is taken up by running it again.
# PYTHON=python3.12 make setup   chooses the interpreter (3.10 to 3.13).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=$PWD/.venv
VENV_STAMP=$VENV/.actiseg-installed
VENV_UNFINISHED=$VENV/.actiseg-unfinished
WORKSPACE=ros2_ws
WORKSPACE_STAMP=$WORKSPACE/install/.actiseg-built

say() { echo "[setup] $*"; }

EXPLAINED=
fail() {
  EXPLAINED=yes
  printf '[setup] error: %s\n' "$@" >&2
  exit 1
}
stopped() {
  local status=$?
  [ $status -eq 0 ] || [ -n "$EXPLAINED" ] ||
    echo "[setup] error: stopped before the end (status $status); run it again to go on" >&2
}
trap stopped EXIT

# An environment that is already active would mix its libraries with this one's.
if [ -n "${ROS_DISTRO:-}" ]; then
  say "ignoring the sourced ROS 2 '$ROS_DISTRO': .venv has ROS 2 of its own." \
    "To build for the sourced one, see 'The first ten minutes' in README.md."
fi
if [ -n "${ROS_DISTRO:-}${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then unset LD_LIBRARY_PATH; fi
unset PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH \
  ROS_DISTRO _ROS_WHEELS_BOOTSTRAP_COMPLETE

# --- what the machine must bring ---------------------------------------------------------------

python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

supported() { case $1 in 3.10 | 3.11 | 3.12 | 3.13) ;; *) return 1 ;; esac; }

choose_python() {
  local candidate version
  if [ -n "${PYTHON:-}" ]; then
    version=$(python_version "$PYTHON") || fail "PYTHON=$PYTHON does not run: give the name or path of a Python 3.10 to 3.13"
    supported "$version" || fail "PYTHON=$PYTHON is Python $version: ROS 2 wheels exist for Python 3.10 to 3.13 only"
    return
  fi
  for candidate in "$VENV/bin/python" python3 python3.11 python3.12 python3.13 python3.10; do
    version=$(python_version "$candidate") || continue
    if supported "$version"; then PYTHON=$candidate; return; fi
  done
  fail "no Python 3.10 to 3.13 was found (python3 is '$(python_version python3 || echo absent)')." \
    "Install one, for example with 'sudo apt-get install python3.11 python3.11-venv python3.11-dev'" \
    "or 'uv python install 3.11', then run 'PYTHON=python3.11 make setup'."
}

check_machine() {
  local missing=() packages=() header
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail \
    "this machine is $(uname -s) $(uname -m), but ROS 2 wheels exist for Linux x86-64 only." \
    "Use the ordinary ROS 2 Jazzy installation instead: see README.md."
  if ! command -v c++ g++ clang++ >/dev/null; then
    missing+=("a C++ compiler"); packages+=(g++)
  fi
  if ! command -v cmake >/dev/null; then missing+=("cmake (3.16 or newer)"); packages+=(cmake); fi
  if ! command -v make gmake >/dev/null; then missing+=("make"); packages+=(make); fi
  if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=("Python's venv module"); packages+=("python$(python_version "$PYTHON")-venv")
  fi
  header=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
  if [ ! -f "$header" ]; then
    missing+=("Python's C headers"); packages+=("python$(python_version "$PYTHON")-dev")
  fi
  [ ${#missing[@]} -eq 0 ] && return
  fail "missing: $(IFS=,; echo "${missing[*]}" | sed 's/,/, /g')" \
    "On Debian or Ubuntu:  sudo apt-get install ${packages[*]}" \
    "On Fedora:            sudo dnf install gcc-c++ cmake make python3-devel" \
    "Then run the same command again."
}

# --- the virtual environment -------------------------------------------------------------------

hash_of() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }

install_packages() {
  local wanted
  wanted="$(python_version "$PYTHON") $(hash_of pyproject.toml constraints.txt scripts/setup.sh)"
  if [ -x "$VENV/bin/python" ] && [ "$(cat "$VENV_STAMP" 2>/dev/null)" = "$wanted" ]; then return; fi

  # A killed pip may leave a package that looks installed and lacks files.
  if [ -e "$VENV_UNFINISHED" ] ||
    [ "$(python_version "$VENV/bin/python" || true)" != "${wanted%% *}" ] ||
    ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    say "creating .venv with Python ${wanted%% *}"
    # By the base interpreter: $PYTHON may be the one inside the folder that is cleared.
    "$("$PYTHON" -c 'import sys; print(sys._base_executable)')" -m venv --clear "$VENV"
  fi
  rm -f "$VENV_STAMP"
  touch "$VENV_UNFINISHED"
  say "installing pinned packages into .venv (1 to 4 GB to download the first time)"
  "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
    --constraint constraints.txt --editable '.[ros-build,dev]' |
    sed -un -e 's/^Collecting \([A-Za-z0-9_.-]*\).*/  \1/p' -e 's/^\(Installing\) collected .*/  \1/p' || {
    rm -f "$VENV_UNFINISHED" # pip has ended by itself and put everything back
    fail "pip could not install the packages: its message is above." \
      "Behind a proxy or mirror, set pip's own options (PIP_PROXY, PIP_INDEX_URL)."
  }
  repair_cmake_exports
  echo "$wanted" >"$VENV_STAMP"
  rm -f "$VENV_UNFINISHED"
}

# The wheels' CMake files name the include folders of the machine that built them.
repair_cmake_exports() {
  local python_include numpy_include
  python_include=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  numpy_include=$("$VENV/bin/python" -c 'import numpy; print(numpy.get_include())')
  find "$VENV/share" -name '*.cmake' -exec sed -i -E \
    -e "s#/opt/python/cp[0-9]+-cp[0-9]+/lib/python[0-9.]+/site-packages/numpy/_core/include#$numpy_include#g" \
    -e "s#/opt/python/cp[0-9]+-cp[0-9]+/include/python[0-9.]+#$python_include#g" {} +
}

# --- the ROS 2 workspace -----------------------------------------------------------------------

# Links make edits live; only interfaces, package metadata and the *names* of the files need a build.
workspace_inputs() {
  cat "$VENV_STAMP"
  find "$WORKSPACE/src/actiseg_msgs" -type f -print0 | sort -z | xargs -0 sha256sum
  sha256sum actiseg_ros/package.xml actiseg_ros/setup.py actiseg_ros/setup.cfg
  find -L actiseg_ros -type f -not -path '*/__pycache__/*' -not -path 'actiseg_ros/actiseg_ros*' | sort
}

build_workspace() {
  local wanted
  wanted=$(workspace_inputs | sha256sum)
  if [ "$(cat "$WORKSPACE_STAMP" 2>/dev/null)" = "$wanted" ]; then return; fi

  say "building ros2_ws (messages and node; about 20 s)"
  # From nothing: a half-written or older build directory would be reused.
  rm -rf "$WORKSPACE/build" "$WORKSPACE/install" "$WORKSPACE/log"
  (
    set +u
    . "$VENV/bin/activate"
    export AMENT_PREFIX_PATH=$VENV CMAKE_PREFIX_PATH=$VENV
    cd "$WORKSPACE"
    colcon --log-level error build --symlink-install --event-handlers console_direct- \
      --cmake-args -DBUILD_TESTING=OFF -DCMAKE_BUILD_TYPE=Release
  ) || fail "colcon could not build ros2_ws: the compiler's message is above and in ros2_ws/log/latest_build"
  echo "$wanted" >"$WORKSPACE_STAMP"
}

choose_python
check_machine
mkdir -p build
# One set-up at a time: two would write into the same folders.
exec 9>build/.setup.lock
if command -v flock >/dev/null; then flock 9; fi
install_packages
build_workspace
say "ready: 'source env.bash' prepares a shell"
