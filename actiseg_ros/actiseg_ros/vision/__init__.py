"""From an image and a prompt to masks, with ONNX Runtime."""
