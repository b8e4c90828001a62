"""Model admission: a stranger's ONNX file is opened only in a limited child process.

`admit.py` runs in the server and imports neither onnx nor onnxruntime; everything else here runs in the child
(`child.py`), which takes bytes on standard input and answers one JSON report. Nothing here knows Django.
"""
