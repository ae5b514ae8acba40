"""What stage ``gradcam`` does: maps of test people, their files, figures and scores."""
