"""Steps of stage ``predict``: inputs, images as the model knows them, answers, files."""
