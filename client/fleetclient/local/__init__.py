"""What the car's computer knows by itself: how hot it is, and which network it is on. Asks the kernel only."""
