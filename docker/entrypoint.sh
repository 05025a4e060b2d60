#!/bin/bash
# Sources ROS 2 (the Jetson images keep it in a sub-folder) and this workspace, then runs the command.
set -e
for setup in "/opt/ros/$ROS_DISTRO/install/setup.bash" "/opt/ros/$ROS_DISTRO/setup.bash"; do
  if [ -f "$setup" ]; then
    source "$setup"
    break
  fi
done
if [ -f /actiseg/env.bash ] && [ -f /actiseg/ros2_ws/install/local_setup.bash ]; then
  source /actiseg/env.bash
fi
exec "$@"
