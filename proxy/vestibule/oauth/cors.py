"""What browser-based MCP clients may send and read across origins; one list for the endpoints and for gated routes."""

ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "Accept",
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
    "Mcp-Session-Id",
    "Last-Event-ID",
)
EXPOSED_HEADERS = ("WWW-Authenticate", "Mcp-Session-Id", "MCP-Protocol-Version")
MAX_AGE_SECONDS = 600
