"""ComfyUI as the engine: over HTTP and WebSocket, on servers far away or started by Kizy."""
