"""The tap: a recording reverse proxy between applications and LLM providers.

Read `routing.py` for where a call goes, `headers.py` for which keys go with it, `recording.py`
for what is kept of it, `proxy.py` for how it passes, `server.py` for how the tap is run.
"""
