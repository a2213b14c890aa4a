"""OpenCV's Farneback flow with the same bits, faster. Delete the folder and everything still works."""
