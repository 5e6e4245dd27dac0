"""The model of tests/oracle/tools_oracle.py, which calls functions, and what it says. Who imports MODEL wants that oracle."""

import os

MODEL = os.path.join(os.environ["OMNI_ORACLE_DIR"], "tools")

PARIS, ROME = '{"city":"Paris"}', '{"city":"Rome"}'
GREETING, REPORT = "hello there", "it is mild"      # told of no function; told what one returned
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "get_weather", "description": "w", "parameters": PARAMETERS}
CHOICE = {"type": "function", "name": "get_weather"}
NESTED = {"type": "function", "function": {"name": "get_weather", "description": "w", "parameters": PARAMETERS}}
