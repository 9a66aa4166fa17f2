"""``python -m langflow_otel``: the command line, where only an interpreter may be started."""

from langflow_otel.cli.main import main

if __name__ == "__main__":
    main()
