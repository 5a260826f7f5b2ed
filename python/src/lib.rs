#![doc = "Python binding of v2m_engine."]
