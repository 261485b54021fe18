"""What a trained network can do, besides its loss: small exams, each a class of its own."""
