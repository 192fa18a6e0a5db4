"""Speaking with one ComfyUI server: HTTP, WebSocket, messages, errors."""
