"""The parts of ``prove/serve.py``: each shows one promise of the service and returns figures and bars."""
