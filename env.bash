# Prepares a bash shell for hand work:  source env.bash
#
# On a machine with an ordinary ROS 2 installation that is already sourced (ROS_DISTRO is set) the
# workspace overlay is added, and the packages of .venv-ros, where the README installs what Ubuntu
# does not package; otherwise the virtual environment .venv that `make setup` makes is activated.
# Works from any folder, may be sourced again, and under `set -u`.

_actiseg_env() {
  local root overlay packages restore_nounset=
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P) || return 1
  overlay=$root/ros2_ws/install

  if [ -z "${ROS_DISTRO:-}" ]; then
    if [ ! -f "$root/.venv/bin/activate" ]; then
      echo "env.bash: $root/.venv is not there: run 'make setup' first" >&2
      return 1
    fi
    # Libraries of another environment would be loaded in the place of this one's.
    if [ "${VIRTUAL_ENV:-}" != "$root/.venv" ] && [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then
      unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
    fi
  fi
  if [ ! -f "$overlay/local_setup.bash" ]; then
    echo "env.bash: $overlay is not there: run 'make setup', or with an ordinary ROS 2" \
      "installation 'cd ros2_ws && colcon build --symlink-install'" >&2
    return 1
  fi

  # The scripts below read variables that may be unset.
  case $- in *u*) restore_nounset=1; set +u ;; esac
  if [ -z "${ROS_DISTRO:-}" ]; then
    if [ "${VIRTUAL_ENV:-}" != "$root/.venv" ]; then
      . "$root/.venv/bin/activate"
    fi
    case ":${AMENT_PREFIX_PATH:-}:" in
      *":$VIRTUAL_ENV:"*) ;;
      *) export AMENT_PREFIX_PATH=$VIRTUAL_ENV${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH} ;;
    esac
  fi
  . "$overlay/local_setup.bash"
  if [ -n "${ROS_DISTRO:-}" ]; then
    # `ros2` and the nodes run in the system's Python, which an activated environment is not.
    for packages in "$root"/.venv-ros/lib/python3*/site-packages; do
      case ":${PYTHONPATH:-}:" in
        *":$packages:"*) ;;
        *) if [ -d "$packages" ]; then export PYTHONPATH=$packages${PYTHONPATH:+:$PYTHONPATH}; fi ;;
      esac
    done
    # Behind everything: its commands (rosbags-convert), but not its Python.
    case ":$PATH:" in
      *":$root/.venv-ros/bin:"*) ;;
      *) if [ -d "$root/.venv-ros/bin" ]; then export PATH=$PATH:$root/.venv-ros/bin; fi ;;
    esac
  fi
  if [ -n "$restore_nounset" ]; then set -u; fi

  # Shared memory large enough for camera images; keeps a choice made before. Jazzy's Fast DDS reads the
  # variable's old name only, from Kilted on the new name counts and the old one is deprecated.
  if [ -z "${FASTDDS_DEFAULT_PROFILES_FILE:-${FASTRTPS_DEFAULT_PROFILES_FILE:-}}" ]; then
    case ${ROS_DISTRO:-jazzy} in
      humble | iron | jazzy) export FASTRTPS_DEFAULT_PROFILES_FILE=$root/actiseg_ros/config/fastdds.xml ;;
      *) export FASTDDS_DEFAULT_PROFILES_FILE=$root/actiseg_ros/config/fastdds.xml ;;
    esac
  fi
}

_actiseg_env
_actiseg_status=$?
unset -f _actiseg_env
# `return` with the status of the function, without leaving a variable behind.
eval "unset _actiseg_status; return $_actiseg_status"
