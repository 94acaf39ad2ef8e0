"""Deployment: faster detectors, and detectors as ONNX files."""
