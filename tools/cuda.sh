#!/usr/bin/env bash
# Everything that wants a CUDA machine, in one call for one that is at hand for minutes.
#
#   tools/cuda.sh MINUTES FOLDER
#
# From the source tree, with the Python packages of the machine and no network:
#   1. the tests that need CUDA
#   2. the benchmarks with their ratios
#   3. the training queue (tools/training_queue.py), until two minutes before the end
#   4. in FOLDER: report.txt, and the weights and checkpoints in parts of at most 15 MB
#      (cat weights.tar.* | tar x); at most 8 files, the oldest of the queue first
#
# Environment:
#   DATA     a folder with mosaics of images: faces40/, faces80/, photos80/, bedrooms80/ and
#            faces_identity.txt, as far as they are there; without it networks of such images wait
#   WHEELS   a folder of wheels that the machine lacks (PyWavelets, say)
#   JOBS     networks trained at a time (4)
#   PYTHON   the Python to use (python3)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ $# -ne 2 ] || ! [[ $1 =~ ^[0-9]+$ ]] || [ "$1" -lt 1 ]; then
  echo "usage: tools/cuda.sh MINUTES FOLDER (whole minutes, at least 1)" >&2
  exit 2
fi
minutes=$1
python=${PYTHON:-python3}
mkdir -p "$2" || exit 1
out=$(cd "$2" && pwd)
began=$(date +%s)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
report=$out/report.txt
: > "$report"

left() { echo $((began + 60 * minutes - $(date +%s))); }
say() { echo "[$(($(date +%s) - began)) s] $*" | tee -a "$report"; }
# run SECONDS NAME COMMAND…: output and exit status go to the report; nothing of it stops the rest
run() {
  local limit=$1 name=$2
  shift 2
  [ "$(left)" -gt 30 ] || { say "$name: no time left"; return; }
  [ "$limit" -lt "$(left)" ] || limit=$(($(left) - 10))
  say "$name begins"
  timeout "$limit" "$@" 2>&1 | tail -40 | tee -a "$report"
  say "$name ended with status ${PIPESTATUS[0]}"
}

export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE} OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
export GAHB_CACHE=$work/cache PYTHONPATH=$PWD
if [ -n "${WHEELS:-}" ]; then
  "$python" -m pip install -q --no-index --no-deps --target "$work/site" "$WHEELS"/*.whl
  PYTHONPATH=$PWD:$work/site
fi

# the images, meanwhile: two of these take a minute of one core
cut_tiles() {
  [ -d "$DATA/$1" ] && "$python" tools/cut_mosaic.py "$DATA/$1" "$work/images/$1" --tile "$2" > "$work/$1.log" 2>&1
}
if [ -n "${DATA:-}" ]; then
  for pair in faces40:40 faces80:80 photos80:80 bedrooms80:80; do
    cut_tiles "${pair%:*}" "${pair#*:}" &
  done
  [ -d "$DATA/faces40" ] && export GAHB_FACES=$work/images/faces40
  [ -d "$DATA/faces80" ] && export GAHB_FACES80=$work/images/faces80
  [ -d "$DATA/photos80" ] && export GAHB_PHOTOS=$work/images/photos80
  [ -d "$DATA/bedrooms80" ] && export GAHB_BEDROOMS=$work/images/bedrooms80
  if [ -f "$DATA/faces_identity.txt" ]; then
    export GAHB_PERSONS=$work/persons.txt
    grep -v '^#' "$DATA/faces_identity.txt" | awk '{ printf "%06d.png %s\n", NR - 1, $2 }' > "$GAHB_PERSONS"
  fi
fi

run 60 "machine" "$python" -c '
import platform, torch
print("Python", platform.python_version(), "torch", torch.__version__)
for k in range(torch.cuda.device_count()):
    print(torch.cuda.get_device_name(k), "CUDA", torch.version.cuda)
print("CUDA is", "there" if torch.cuda.is_available() else "not there: all of this runs on the CPU")'
# beside the quiet machine that a timing needs, nothing is lost by testing while images are cut
run 180 "tests that need CUDA" "$python" -m pytest tests -m cuda -q -p no:cacheprovider -o addopts= -o timeout=150
wait
for name in step calpha sample empirical; do
  run 60 "bench_$name" "$python" "tests/benchmarks/bench_$name.py"
done

training=$(($(left) - 120))
if [ "$training" -gt 20 ]; then
  say "training for $training s, ${JOBS:-4} networks at a time"
  "$python" tools/training_queue.py train "$work/queue" --jobs "${JOBS:-4}" \
    --minutes "$(awk "BEGIN { print $training / 60 }")" 2>&1 | tee -a "$report"
else
  say "no time to train"
fi
find "$work/queue" -name '*.safetensors' -printf '%T@ %f\n' 2>/dev/null | sort -n | cut -d' ' -f2 > "$work/names"
say "$(wc -l < "$work/names") networks trained"
if [ -s "$work/names" ]; then
  tar -C "$work/queue" -cf "$work/weights.tar" -T "$work/names"
  split -b 15M -d -a 2 "$work/weights.tar" "$out/weights.tar."
  kept=$(ls "$out"/weights.tar.* | wc -l)
  [ "$kept" -le 7 ] || say "$kept parts of weights, more than seven: copy them all"
fi
say "done"
