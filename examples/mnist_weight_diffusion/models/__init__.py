"""The networks of the example: the classifier whose weights are generated, and the model that generates them."""
