"""A real MCP server over stdio, with one tool that works and one that fails."""

from mcp.server.fastmcp import FastMCP

server = FastMCP("arithmetic")


@server.tool()
def multiply(a: int, b: int) -> str:
    return str(a * b)


@server.tool()
def divide(a: int, b: int) -> str:
    return str(a // b)


if __name__ == "__main__":
    server.run()
