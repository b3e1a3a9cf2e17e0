"""Which flights out of New York will arrive late?"""
