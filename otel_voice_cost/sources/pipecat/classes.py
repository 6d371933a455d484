from pathlib import Path

DATA = Path(__file__).with_name("classes.json")
