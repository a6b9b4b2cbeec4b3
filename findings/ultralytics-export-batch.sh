#!/usr/bin/env bash
# With nms=True and a dynamic batch, an Ultralytics export finds nothing in pictures beyond the batch of export.
#
# Versions: ultralytics 8.4.190, torch 2.15.0, onnx 1.23.2, onnxruntime 1.32.0, Python 3.11, CPU. Installs some GB:
#           PyPI's torch for Linux brings CUDA with it.
# Input:    yolov8n with random weights that score highly everywhere, exported to ONNX with nms=True, dynamic=True,
#           batch=2; then four equal pictures at once.
# Expected: four equal answers, or an error: the input says `batch`, a free dimension, and the output has four rows.
# Seen:     31, 31, 0 and 0 detections. The loop over pictures was unrolled to the batch of export, and the rows of the
#           rest are padded with zeros. With the default batch=1 all pictures but the first are empty; the export only
#           logs that a "maximum batch size" is required.
# Why care: a server that batches requests (Triton's max_batch_size) answers some of them with "nothing found", under
#           load only.
# Instead:  let max_batch_size be the batch of export, or export without nms and suppress outside.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile uv==0.13.8 # unpacks gigabytes many times as fast as pip
venv/bin/uv pip install --quiet --python venv/bin/python ultralytics==8.4.190 torch==2.15.0 \
  onnx==1.23.2 onnxruntime==1.32.0
export YOLO_OFFLINE=1 YOLO_AUTOINSTALL=false YOLO_CONFIG_DIR=$place
venv/bin/python - <<'PY'
import numpy as np
import onnxruntime as ort
import torch
from ultralytics import YOLO

torch.manual_seed(0)
model = YOLO("yolov8n.yaml", verbose=False)
for branch in model.model.model[-1].cv3:
    torch.nn.init.constant_(branch[-1].bias, 2.0)
file = model.export(format="onnx", nms=True, dynamic=True, batch=2, imgsz=64, opset=17, simplify=False)

session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
pictures = np.random.default_rng(0).random((1, 3, 64, 64), np.float32).repeat(4, 0)
(rows,) = session.run(None, {"images": pictures})
found = (rows[:, :, 4] > 0).sum(1).tolist()
print(f"input {session.get_inputs()[0].shape}, output of four pictures {rows.shape}, detections {found}")
if not (rows.shape[0] == 4 and found[0] == found[1] > 0 and found[2:] == [0, 0]):
    raise SystemExit("this is not what the header says")
PY
