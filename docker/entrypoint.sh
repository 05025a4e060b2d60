#!/bin/bash
# Sources ROS 2 (the Jetson images keep it in a sub-folder) and this workspace, chooses how messages
# travel, then runs the command.
set -e
for setup in "/opt/ros/$ROS_DISTRO/install/setup.bash" "/opt/ros/$ROS_DISTRO/setup.bash"; do
  if [ -f "$setup" ]; then
    source "$setup"
    break
  fi
done

# Fast DDS opens the shared memory of every process on the machine for writing. Where it belongs to
# another user, that fails without a word, and nothing arrives although both sides see each other.
foreign() {
  local file
  for file in /dev/shm/fastrtps_*; do
    if [ -e "$file" ] && ! [ -O "$file" ]; then stat -c %U "$file"; return; fi
  done
  return 1
}
if [ -z "${FASTDDS_DEFAULT_PROFILES_FILE:-${FASTRTPS_DEFAULT_PROFILES_FILE:-}}" ]; then
  transport=${DDS_TRANSPORT:-auto}
  if [ "$transport" = auto ]; then
    transport=shm
    if owner=$(foreign); then
      transport=udp
      echo "entrypoint: shared memory here belongs to $owner and this is user $(id -u), so" \
        "messages go by UDP; run both as one user (ACTISEG_USER) for speed" >&2
    fi
  fi
  case $transport in
    shm) profile=/actiseg/actiseg_ros/config/fastdds.xml ;;
    udp) profile=/actiseg/actiseg_ros/config/fastdds_udp.xml ;;
    *) echo "entrypoint: DDS_TRANSPORT is '$transport', not shm, udp or auto" >&2; exit 2 ;;
  esac
  # Jazzy's Fast DDS reads the old name only, from Kilted on the new one counts.
  case $ROS_DISTRO in
    humble | iron | jazzy) export FASTRTPS_DEFAULT_PROFILES_FILE=$profile ;;
    *) export FASTDDS_DEFAULT_PROFILES_FILE=$profile ;;
  esac
fi

if [ -f /actiseg/env.bash ] && [ -f /actiseg/ros2_ws/install/local_setup.bash ]; then
  source /actiseg/env.bash
fi
exec "$@"
