"""What a collector gets of a run of each starter project of the newest LangFlow, below its ``invoke_workflow``."""

TREES = {
    "Basic Prompting": """
component Chat Input (input)
component Chat Output (output)
component Language Model (llm)
  chat gpt-4o-mini
    POST
component Prompt Template (prompt)
""",
    "Blog Writer": """
component Chat Input (input)
component Chat Output (output)
component Prompt Template (prompt)
component URL (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool fetch_content
    GET
  chat gpt-4o-mini
    POST
""",
    "Content Aggregator": """
component Batch Run (llm)
  chat gpt-4o-mini
    POST
component Chat Input (input)
component Chat Output (output)
component Parser (data)
component Web Search (data)
  GET [error]
component Write File (data)
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Custom Component Generator": """
component Chat Input (input)
component Chat Output (output)
component Memory Base (retriever) only offered tools
component URL (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool fetch_content
    GET
  chat gpt-4o-mini
    POST
""",
    "Deep Research Agent": """
component Chat Input (input)
component Chat Output (output)
component Prompt Template (prompt)
component Prompt Template (prompt)
component Web Search (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool perform_search
    GET [error]
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Document Q&A": """
component Chat Input (input)
component Chat Output (output)
component Knowledge (retriever)
  GET
  GET
  GET
  embeddings nomic-embed-text
    POST
component Parser (data)
component Prompt Template (prompt)
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Financial Report Parser": """
component Chat Output (output)
component Parser (data)
component Read File (data)
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Image Sentiment Analysis": """
component Chat Input (input)
component Chat Output (output)
component Language Model (llm)
  chat gpt-4o-mini
    POST
""",
    "Instagram Copywriter": """
component Chat Input (input)
component Chat Output (output)
component Web Search (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool perform_search
    GET [error]
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Knowledge Retrieval": """
component Chat Input (input)
component Chat Output (output)
component Knowledge (retriever)
  GET
  GET
  GET
  embeddings nomic-embed-text
    POST
component Parser (data)
""",
    "Market Research": """
component Chat Input (input)
component Chat Output (output)
component Parser (data)
component Structured Output (llm)
  chat gpt-4o-mini
    POST
component Web Search (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool perform_search
    GET [error]
  chat gpt-4o-mini
    POST
""",
    "Memory Chatbot": """
component Chat Input (input)
component Chat Output (output)
component Memory Base (retriever) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Multi Agent Flow": """
component Chat Input (input)
component Chat Output (output)
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Portfolio Website Code Generator": """
component Chat Output (output)
component Read File (data)
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Price Deal Finder": """
component Chat Input (input)
component Chat Output (output)
component Memory Base (retriever) only offered tools
component URL (data) only offered tools
component Web Search (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool fetch_content
    GET
  chat gpt-4o-mini
    POST
  execute_tool perform_search
    GET [error]
  chat gpt-4o-mini
    POST
""",
    "Research Translation Loop": """
component Chat Input (input)
component Chat Output (output)
component Loop (logic)
  component Parser (data)
  component Language Model (llm)
    chat gpt-4o-mini
      POST
  component Parser (data)
  component Language Model (llm)
    chat gpt-4o-mini
      POST
component arXiv (tool)
""",
    "SEO Keyword Generator": """
component Chat Output (output)
component Prompt Template (prompt)
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "SaaS Pricing": """
component Chat Input (input)
component Chat Output (output)
component SQL Database (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool run_sql_query
  chat gpt-4o-mini
    POST
""",
    "Sequential Tasks Agents": """
component Chat Input (input)
component Chat Output (output)
component Prompt Template (prompt)
component Web Search (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool perform_search
    GET [error]
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Simple Agent": """
component Chat Input (input)
component Chat Output (output)
component URL (data) only offered tools
component Web Search (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool fetch_content
    GET
  chat gpt-4o-mini
    POST
  execute_tool perform_search
    GET [error]
  chat gpt-4o-mini
    POST
""",
    "Social Media Agent": """
component Chat Input (input)
component Chat Output (output)
component URL (data) only offered tools
component Web Search (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool fetch_content
    GET
  chat gpt-4o-mini
    POST
  execute_tool perform_search
    GET [error]
  chat gpt-4o-mini
    POST
""",
    "Text Sentiment Analysis": """
component Chat Output (output)
component Chat Output (output)
component Prompt Template (prompt)
component Read File (data)
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Travel Planning Agents": """
component Calculator (tool) only offered tools
component Chat Input (input)
component Chat Output (output)
component URL (data) only offered tools
component Web Search (data) only offered tools
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool perform_search
    GET [error]
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
  execute_tool fetch_content
    GET
  chat gpt-4o-mini
    POST
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Twitter Thread Generator": """
component Chat Input (input)
component Chat Output (output)
component Prompt Template (prompt)
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
    "Vector Store RAG": """
component Chat Input (input)
component Chat Output (output)
component Knowledge (retriever)
  GET
  GET
  GET
  embeddings nomic-embed-text
    POST
component Parser (data)
component Prompt (prompt)
invoke_agent Agent (agent)
  chat gpt-4o-mini
    POST
""",
}
