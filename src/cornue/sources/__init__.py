"""BRING: prompts, documents and tables, with their licences and attributions."""
