"""What there is to ask for. (To be written by helper API: overwrite this file.)"""
from typing import Any
def models(app: Any) -> Any: return ()
def loras(app: Any, query: str = "", family: str | None = None) -> Any: return ()
def styles(app: Any) -> Any: return ()
def families(app: Any) -> Any: return ()
def templates(app: Any) -> Any: return ()
def servers(app: Any) -> Any: return ()
