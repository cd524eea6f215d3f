"""Line charts and images as terminal characters: data in, cells out, without Textual."""
