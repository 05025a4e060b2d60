#!/usr/bin/env bash
# Runs the benchmark's tests on a real Slurm of this machine alone; called by `make slurm-test`.
#
# It needs the programs of Debian's packages slurm-wlm and munge. Nothing is installed unless you
# say so:  INSTALL=yes make slurm-test   (with apt-get; as root, or with sudo)
# The daemons run as the calling user, in a temporary folder; no service of the machine is used.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PACKAGES=(slurm-wlm munge)

missing() { for program in munged slurmctld slurmd sbatch; do PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || echo "$program"; done; }

if [ -n "$(missing)" ]; then
  if [ "${INSTALL:-}" != yes ]; then
    echo "[slurm-test] skipped: no $(missing | paste -sd, | sed 's/,/, /g')." \
      "'INSTALL=yes make slurm-test' gets them with apt-get install ${PACKAGES[*]}"
    exit 0
  fi
  as_root=()
  if [ "$(id -u)" != 0 ]; then as_root=(sudo); fi
  "${as_root[@]}" apt-get update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${PACKAGES[@]}"
fi
set +u
source ./env.bash
# A folder of its own: pytest's common one is cleared by other calls of pytest meanwhile.
scratch=$(mktemp -d)
python -m pytest -m slurm tests/slurm --basetemp "$scratch/t" "$@" || {
  echo "[slurm-test] what was left for a look: $scratch" >&2
  exit 1
}
rm -rf "$scratch"
