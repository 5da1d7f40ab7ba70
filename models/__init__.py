"""The tiny policy and process reward model shipped with the project, and the scripts that train and measure them."""
