"""What the controller and the runner in an allocation tell each other, through files. Standard library only."""
