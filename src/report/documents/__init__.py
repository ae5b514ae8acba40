"""What is written about a result: tables to paste, a model card, two reporting checklists."""
