"""Arguments of the commands beside the Trainer's, one file each: without torch, so that help is there at once."""
