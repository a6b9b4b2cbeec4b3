#!/usr/bin/env bash
# The main job, end to end: from a folder of labelled images to a model that answers predictions.
# DATA=folder takes another folder (VOC, COCO or YOLO, found out by itself); BLOOMERY_WEIGHTS=folder names base weights.
# Where there are none and no network, BASE=scratch starts from random weights.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
data=${DATA:-examples/blood-cells}
split=70/20/10
[[ -n ${DATA:-} ]] || split=official
work=demo-data
export BLOOMERY_DATA=$PWD/$work/server BLOOMERY_PROJECT=demo

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

if [[ -e $work ]]; then
  echo "The results of the last demo in $work/ are replaced."
  rm -rf "$work"
fi
mkdir -p "$work"

printf '\n$ bloomery up --data %s/server\n' "$work"
bloomery up --data "$BLOOMERY_DATA" >"$work/up.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 300); do
  [[ ! -e $BLOOMERY_DATA/server.json ]] || break
  kill -0 "$server" 2>/dev/null || { cat "$work/up.log"; exit 1; }
  sleep 0.1
done
cat "$work/up.log"

run bloomery project create demo
run bloomery import "$data" --project demo
run bloomery annotations validate --project demo || echo "The errors above are left out of the dataset."
run bloomery dataset build demo-v --project demo --split "$split" --seed 7 --kind detect
run bloomery train demo-v@1 --recipe yolo-detect --model demo --set epochs=8 --set imgsz=320 --set batch=4 ${BASE:+--base "$BASE"} --follow
run bloomery export demo-v@1 --format yolo --to "$work/dataset"
held_out=$work/dataset/images/test
[[ -d $held_out ]] || held_out=$work/dataset/images/val
mapfile -t images < <(find "$held_out" -type f | sort | head -10)
printf '\n$ bloomery predict demo@1 %s/* --threshold 0.5 --save %s/predictions > %s/predictions.txt\n' "$held_out" "$work" "$work"
bloomery predict demo@1 "${images[@]}" --threshold 0.5 --save "$work/predictions" >"$work/predictions.txt"
run bloomery models show demo@1

cat <<END

Done. What there is now:
  $work/predictions/   held-out images with the model's boxes drawn; $work/predictions.txt lists the boxes
  $work/dataset/       the dataset in YOLO format
  $work/server/        the server's data folder: images, labels, jobs, models

Try next:
  .venv/bin/bloomery up --data $work/server                 start the server again
  export BLOOMERY_DATA=$work/server                         and in another terminal:
  .venv/bin/bloomery jobs list                              what was trained
  .venv/bin/bloomery train demo-v@1 --recipe yolo-detect --set epochs=30 --follow
  .venv/bin/bloomery --help                                 everything else
END
