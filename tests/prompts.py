"""Prompts that make the scripted model do something."""

import json


def bash(command: str) -> str:
    return f"```bash\n{command}\n```"


def tool(name: str, **given: object) -> str:
    return f"```tool\n{json.dumps({'name': name, 'input': given})}\n```"


def fault(prompt: str, **how: object) -> str:
    return f"{prompt}\n```fault\n{json.dumps(how)}\n```"
