#!/bin/sh
# Checks the ports with the first available Python: $1 (the virtual environment's), else a system Python.
for python in "$1" "$PYTHON" python3 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
        exec sh local_stack/run.sh "$python" local_stack/ports.py
    fi
done
