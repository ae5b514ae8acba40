"""The pipeline in notebooks: stages as functions, answers about images, and a scikit-learn model."""
