"""The notebook face: the only room that knows IPython and widgets; it calls public methods of the lab, and draws.

lab, run -> [dashboard] -> the notebook's page
"""
