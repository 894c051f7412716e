#!/usr/bin/env python3
"""An agent in 20 lines. `run COMMAND on NODE` asks a node; anything else is said back.

    { "agents": { "defaults": { "backend": "command", "command": ["python3", "cli/examples/agent.py"] } } }
"""
import json, re, sys

def say(**line):
    print(json.dumps(line), flush=True)

start = json.loads(sys.stdin.readline())
wish = re.fullmatch(r"run (\S+) on (.+)", start["message"].strip())
if wish:
    say(type="tool_call", id="1", command=wish[1], node=wish[2], params={})
    result = json.loads(sys.stdin.readline())
    answer = result["result"] if result["ok"] else result["error"]["message"]
    say(type="text", text=f"{wish[2]} says: {json.dumps(answer)}")
else:
    say(type="text", text=f"You said: {start['message']}")
say(type="done")
