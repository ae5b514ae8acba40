"""The pipeline in notebooks: stages as functions, answers about images, and a classifier."""
